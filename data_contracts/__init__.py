"""Everything true about images and labels before a tensor meets a network."""
