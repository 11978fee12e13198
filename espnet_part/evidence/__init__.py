"""Many trainings of one recipe, compared: which system is better, by how much, and how sure that is."""
