"""`python -m minidiff` is the command line, `minidiff`."""

import sys

from minidiff.cli import main

sys.exit(main())
