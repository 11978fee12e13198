"""What training did to the representations: similarity of gradients, separability, alignment."""
