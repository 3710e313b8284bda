"""Run networks through a target: `options` become jobs, outcomes become records."""
