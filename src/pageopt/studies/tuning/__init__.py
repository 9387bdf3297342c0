"""A search for better params of section `train`, on the validation split alone."""
