"""Times in the format of the API's JSON, from seconds since 1970."""

_DAY_S = 86_400
_DAYS_OF_400_YEARS = 146_097
_LAST_YEAR = 9_999
_JANUARY = 10
"""Months are counted from March, which is 0."""


def rfc3339(seconds: int) -> str | None:
    """`2026-11-27T09:23:04Z`. None for 0, which means no time, and for years that RFC 3339 cannot write.

    The calendar is computed as in Howard Hinnant's "chrono-Compatible Low-Level Date Algorithms": a year begins in
    March, so that the day of a leap year comes last.
    """
    if not seconds:
        return None
    days, second = divmod(seconds, _DAY_S)
    era, day = divmod(days + 719_468, _DAYS_OF_400_YEARS)
    year = (day - day // 1_460 + day // 36_524 - day // 146_096) // 365
    day_of_year = day - (365 * year + year // 4 - year // 100)
    month = (5 * day_of_year + 2) // 153
    day_of_month = day_of_year - (153 * month + 2) // 5 + 1
    is_next_year = month >= _JANUARY
    civil_year = era * 400 + year + is_next_year
    civil_month = month - 9 if is_next_year else month + 3
    if not 0 <= civil_year <= _LAST_YEAR:
        return None
    minute, second = divmod(second, 60)
    hour, minute = divmod(minute, 60)
    return f"{civil_year:04}-{civil_month:02}-{day_of_month:02}T{hour:02}:{minute:02}:{second:02}Z"
