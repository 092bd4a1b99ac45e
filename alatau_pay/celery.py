"""The Celery app: its queues, its guarantees and its beat schedule.

A message is only a poke: what is due stands in the database, so a lost, repeated or forged
message moves no money (CASES R107, R114, R115). Nothing is scheduled with a long ETA, because
Redis delivers a message again once it outlives the visibility timeout.

How the two workers are started: ``alatau_pay.workers``.
"""

import os

from celery import Celery
from celery.schedules import crontab

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "alatau_pay.settings")

BROKER_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")

app = Celery("alatau_pay")
app.conf.update(
    # Kombu's own name for a Unix socket.
    broker_url=BROKER_URL.replace("unix://", "redis+socket://", 1),
    broker_connection_retry_on_startup=True,
    broker_transport_options={"visibility_timeout": 300},
    accept_content=["json"],
    task_serializer="json",
    result_serializer="json",
    task_ignore_result=True,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_time_limit=240,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    worker_cancel_long_running_tasks_on_connection_loss=True,
    task_default_queue="default",
    task_routes={
        # What asks nodes, and sources of rates.
        "alatau_pay.pipeline.scan_*": {"queue": "chains"},
        "alatau_pay.pipeline.follow_*": {"queue": "chains"},
        "alatau_pay.pipeline.observe_*": {"queue": "chains"},
        "alatau_pay.pipeline.*": {"queue": "default"},
    },
    timezone="UTC",
    imports=("alatau_pay.pipeline",),
    beat_schedule={
        "scan every network": {"task": "alatau_pay.pipeline.scan_networks", "schedule": 5.0},
        "apply what was found": {
            "task": "alatau_pay.pipeline.apply_all_transfers",
            "schedule": 10.0,
        },
        "expire invoices": {"task": "alatau_pay.pipeline.expire_invoices", "schedule": 5.0},
        # 08:00 to 08:50 in Almaty; often, so that a lost message costs minutes.
        "prepare payouts": {
            "task": "alatau_pay.pipeline.prepare_payouts",
            "schedule": crontab(minute="*/10", hour="3"),
        },
        "observe rates": {"task": "alatau_pay.pipeline.observe_rates", "schedule": 5.0},
        "follow sweeps": {"task": "alatau_pay.pipeline.follow_all_sweeps", "schedule": 15.0},
        "seal the journal": {"task": "alatau_pay.pipeline.seal_entries", "schedule": 10.0},
    },
)
