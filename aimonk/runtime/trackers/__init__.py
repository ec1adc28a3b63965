"""Records of a run for TensorBoard, MLflow and Weights & Biases; their packages are imported on use."""
