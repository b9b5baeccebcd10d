"""What a model bundle says of pictures that belong to no data set: the one way for batches, services and MLflow."""
