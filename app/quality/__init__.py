"""How far labels can be trusted: agreement, biases, speed; and setting a person's labels aside."""
