"""Statistical examination of a data set before training; arrays in, numbers out."""
