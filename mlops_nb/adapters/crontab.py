"""The next times of a crontab line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from croniter import CroniterBadCronError, CroniterBadDateError, croniter

from mlops_nb.core.schedule import Cron, zone
from mlops_nb.errors import UserError

if TYPE_CHECKING:
    from datetime import datetime


def upcoming(line: str, zone_name: str, after: datetime, count: int) -> tuple[datetime, ...]:
    """Give the next times of a line, in its time zone.

    Args:
        line: five fields, or a name such as `@daily`.
        zone_name: the time zone they are meant in.
        after: the moment after which to begin.
        count: how many times to give.

    Raises:
        UserError: if the line or the zone cannot be read, or the line never comes true.
    """
    cron, clock = Cron.parse(line), zone(zone_name)
    try:
        times = croniter(cron.five_fields, after.astimezone(clock))
        found: tuple[datetime, ...] = tuple(times.get_next(type(after)) for _ in range(count))
    except CroniterBadDateError:
        raise UserError(
            f"cron {line!r} never comes true", hint="no month that it names has such a day"
        ) from None
    except CroniterBadCronError as error:
        raise UserError(f"cron {line!r} cannot be read: {error}") from None
    return found
