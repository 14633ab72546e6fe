"""Any photo in, the image encoder's input out: the one preprocessing of training, export and device."""
