"""The job of a trial, which all processes of torchrun run together."""

from hydra.plugins.launcher import Launcher

from aimonk.runtime.ranks import world_size


def run_one(launcher: Launcher, overrides: list[str], number: int) -> Exception | None:
    """Run a job, and return its error."""
    (returned,) = launcher.launch([overrides], initial_job_idx=number)
    try:
        return returned.return_value and None
    except Exception as error:
        return error


def share(job: tuple[list[str], int] | None) -> tuple[list[str], int] | None:
    """Send a job to the other processes of torchrun, which return it; None after the last."""
    if world_size() == 1:
        return job
    from aimonk.runtime.distributed import broadcast

    return broadcast(job)


def follow(launcher: Launcher) -> None:
    """Run the jobs that the first process of torchrun starts."""
    while (job := share(None)) is not None:
        run_one(launcher, *job)
