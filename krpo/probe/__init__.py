"""Measurements of advantage estimators at a frozen checkpoint, without training: `krpo-probe`.

    spec.py       what is probed (`ProbeSpec`), and the key of its rollouts
    rollouts.py   batches of answers as training would sample them, and the gradient of each answer's log-probability
    gradients.py  those gradients, and the random projection in which they are kept
    batches.py    the raw measurements: one row for each batch, estimator, group size and noise
    results.py    rows -> numbers with intervals (jackknife over batches)
    run.py        the folder that a probe writes; a killed probe goes on
    table.py      the printed table
    cli.py        the command

`docs/probe.md` says what is measured, with formulas, and what was found.
"""
