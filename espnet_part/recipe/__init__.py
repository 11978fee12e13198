"""Recipes: what `part.sh` and `baseline.sh` hand over to, stage by stage.

A stage is done when its marker holds its key (`keys`, `markers`); what runs is started by `jobs`,
under locks (`locks`), and ends when the recipe does (`leash`).
"""
