"""Caffe: its files, its rules, and how it runs."""
