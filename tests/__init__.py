"""A package, so that one of the same name among those installed does not stand for it."""
