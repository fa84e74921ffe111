"""Tasks: lm-eval's own by name, those of `krpo.tasks`, and local data files in place of the hub's."""
