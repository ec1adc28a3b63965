"""What can be said of a data set before anyone trains on it; numbers in, numbers out."""
