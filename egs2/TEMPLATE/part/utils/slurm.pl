#!/usr/bin/env python3
"""Run a command, or an array of them, on a Slurm cluster; see --help. Its name is one that espnet2.bin.launch
knows."""

import sys

from espnet_part.launch.slurm import main

sys.exit(main())
