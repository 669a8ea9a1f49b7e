"""Small images and sequences with known answers, for tests of every metric."""
