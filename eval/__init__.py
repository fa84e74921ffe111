"""The harness: checkpoints -> records, one per question and sample -> scores with intervals."""
