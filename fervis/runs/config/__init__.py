"""Config of a run: composed by Hydra, checked once, named by a key over all that determines the result."""

from fervis.runs.config.compose import compose_config, expand_sweep, register_configs, resolve_weights, to_run_config
from fervis.runs.config.keys import ID_DIGITS, run_key
from fervis.runs.config.names import command_line, run_folder, run_id, run_name, sweep_name
from fervis.runs.config.schema import EXCLUDED_FROM_KEY, RunConfig
from fervis.runs.config.shards import Shard, parse_shard

__all__ = [
    "EXCLUDED_FROM_KEY",
    "ID_DIGITS",
    "RunConfig",
    "Shard",
    "command_line",
    "compose_config",
    "expand_sweep",
    "parse_shard",
    "register_configs",
    "resolve_weights",
    "run_folder",
    "run_id",
    "run_key",
    "run_name",
    "sweep_name",
    "to_run_config",
]
