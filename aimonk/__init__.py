"""Train, compare and apply multi-label image classifiers when labels are incomplete."""
