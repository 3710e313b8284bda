"""Networks in the styles that people publish, none of them from the zoo, as prototxt text."""
