"""An adapter that shortens speech to what a CTC hears in it."""
