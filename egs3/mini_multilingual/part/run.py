#!/usr/bin/env python3
"""The embedded recipe as a system of ESPnet 3.

python run.py --stages create_dataset collect_stats train --training_config conf/training.yaml
"""

from espnet3.systems.launch import launch

from espnet_part.espnet3.system import PARTSystem

if __name__ == "__main__":
    launch(PARTSystem, conf_package="espnet_part.espnet3")
