"""Every key in Redis.

| key | type | content | expires | written by |
|---|---|---|---|---|
| `graphinator:load` | string | lease of the process that sends batches | 30 s | `LoadLock` |
| `graphinator:in_flight` | sorted set | batch → last sign of life, Redis's Unix s; 0: not sent yet | never | `InFlight` |
| `graphinator:batch:<batch>` | hash | `meta`; `chunk:<i>`, `rows:<i>` and `known`, packed; `attempts:<part>`; `refused:<entry>` | 7 days | `InFlight` |
| `graphinator:batch:<batch>:lease` | string | lease of the body that writes the batch | 30 s | `InFlight` |
| `graphinator:runs` | sorted set | run → when it was planned, Unix s | never | `Runs` |
| `graphinator:run:<run>` | hash | `plan`, `read`, `end` as JSON; the tally and the `Work`; `failed:<batch>`; `not_kept` | 30 days, and 400 days once it has ended | `Runs`, `InFlight` |
| `graphinator:run:<run>:ids` | string | ids in the dump, a roaring bitmap, and the gaps of `DumpIds` | 30 days | `Runs` |
| `graphinator:run:<run>:newer` | set | ids of records that upstream tasks handed over after it began, written before it ended | 30 days | `Runs` |
| `graphinator:run:<run>:samples` | string | its progress over time, packed: at most 200 samples, 10 kB | 400 days | `Runs` |
| `graphinator:exclusive` | hash | `token` of the task that is asked for; its `attempts`, its `result` | 7 days | `ExclusiveTasks` |
| `graphinator:exclusive:lease` | string | lease of the worker that runs it | 30 s | `ExclusiveTasks` |
| `graphinator:statistics` | hash | `counted`, `stale`, `rebuild`, `failed`: Redis's Unix s | never | `StatisticsState` |
| `graphinator:inbox` | hash | `bytes`; `number`, the last one given; `<type>:records`, `<type>:since` | never | `Inbox` |
| `graphinator:inbox:<type>` | list | packed call parts, in the order of acceptance | never | `Inbox` |
| `graphinator:inbox:<type>:numbers` | sorted set | record id → number of the newest call that brought it, while an older call is not accepted | 1 day | `Inbox` |
| `graphinator:inbox:seen` | sorted set | calls that are seen and not accepted, `<key of the call> <content hash>` → number | never | `Inbox` |
| `graphinator:inbox:call:<task id>` | hash | for each content hash `number:…`, and `accepted:…`, `superseded:…` once it is accepted; the numbers of `CallState` | 30 days, and 1 day once no record waits | `Inbox`, `InFlight` |
| `graphinator:quarantine:entries` | sorted set | entry id → when it was first quarantined, Redis's Unix s | never | `Quarantine` |
| `graphinator:quarantine:records` | hash | `<type>:<record id>` → ids of its entries | never | `Quarantine` |
| `graphinator:quarantine:total_bytes` | string | sum of `bytes` of all entries | never | `Quarantine` |
| `graphinator:quarantine:entry:<id>` | hash | the fields of `Entry`, `raw` packed; `bytes`, its size; `last` time of quarantine | never | `Quarantine` |
| `graphinator:quarantine:entry:<id>:runs` | list | digests of the last runs that quarantined it | never | `Quarantine` |
| `graphinator:rejected_messages` | list | items of queues that no worker can handle, as they were, the last 1,000 | never | `Channel` |

The broker and the result backend keep their own keys in the same database.
"""

#: Every key begins with it.
PREFIX = "graphinator:"

LOAD_LOCK = PREFIX + "load"
IN_FLIGHT = PREFIX + "in_flight"
RUNS = PREFIX + "runs"
EXCLUSIVE = PREFIX + "exclusive"
EXCLUSIVE_LEASE = EXCLUSIVE + ":lease"
STATISTICS = PREFIX + "statistics"
INBOX = PREFIX + "inbox"
INBOX_SEEN = INBOX + ":seen"
QUARANTINE = PREFIX + "quarantine:entries"
QUARANTINE_BYTES = PREFIX + "quarantine:total_bytes"
QUARANTINE_RECORDS = PREFIX + "quarantine:records"
REJECTED_MESSAGES = PREFIX + "rejected_messages"

LEASE_SECONDS = 30
BATCH_SECONDS = 7 * 24 * 3600
RUN_SECONDS = 30 * 24 * 3600
#: A load is compared with that of the same month a year ago.
ENDED_RUN_SECONDS = 400 * 24 * 3600
EXCLUSIVE_SECONDS = 7 * 24 * 3600
CALL_SECONDS = 24 * 3600
#: While records of the call wait, which a long load may hold up.
WAITING_CALL_SECONDS = 30 * 24 * 3600


def batch_key(batch: str) -> str:
    """Return the hash of a batch."""
    return f"{PREFIX}batch:{batch}"


def batch_lease_key(batch: str) -> str:
    """Return the lease of a batch's body."""
    return f"{batch_key(batch)}:lease"


def run_key(run: str) -> str:
    """Return the hash of a run."""
    return f"{PREFIX}run:{run}"


def run_ids_key(run: str) -> str:
    """Return the ids that the dump of a run contains."""
    return f"{run_key(run)}:ids"


def run_newer_key(run: str) -> str:
    """Return the ids of records written before a run's end, accepted after its beginning."""
    return f"{run_key(run)}:newer"


def run_samples_key(run: str) -> str:
    """Return the samples of a run."""
    return f"{run_key(run)}:samples"


def inbox_key(record_type: str) -> str:
    """Return the waiting records of a type."""
    return f"{INBOX}:{record_type}"


def inbox_numbers_key(record_type: str) -> str:
    """Return the numbers of the newest calls that brought the records of a type."""
    return f"{inbox_key(record_type)}:numbers"


def inbox_call_key(task: str) -> str:
    """Return the hash of the calls with this task id."""
    return f"{INBOX}:call:{task}"


def quarantine_entry_key(entry: str) -> str:
    """Return the hash of a quarantined record."""
    return f"{PREFIX}quarantine:entry:{entry}"


def quarantine_runs_key(entry: str) -> str:
    """Return the last runs that quarantined a record."""
    return f"{quarantine_entry_key(entry)}:runs"
