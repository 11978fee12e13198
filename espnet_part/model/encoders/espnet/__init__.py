"""Any encoder of an ESPnet ASR recipe."""
