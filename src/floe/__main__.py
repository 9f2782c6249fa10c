"""`python -m floe` is the command `floe`."""

from __future__ import annotations

import sys

from floe.cli import main

sys.exit(main())
