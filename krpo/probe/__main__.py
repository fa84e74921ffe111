"""`python -m krpo.probe`: the same as `krpo-probe`."""

from krpo.probe.cli import main

raise SystemExit(main())
