"""PART as a system of ESPnet 3. `espnet_part.espnet3.system` alone needs ESPnet 3 to be installed."""
