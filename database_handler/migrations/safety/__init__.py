"""What statements cost those who work meanwhile, and how to do the same without keeping them waiting."""
