"""The engines that run networks, each in a folder of its own."""
