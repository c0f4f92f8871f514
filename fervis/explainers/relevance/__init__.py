"""Methods that redistribute a target's value backwards, layer by layer, onto layers and pixels."""
