"""Run networks through a target: `options` become work, outcomes become records."""
