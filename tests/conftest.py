"""What all tests share: the library's own pytest plugin brings the server and the databases."""
