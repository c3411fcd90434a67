"""What tests of an application use: pytest fixtures (`plugin`) and factories."""
