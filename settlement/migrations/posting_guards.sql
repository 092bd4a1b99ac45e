-- Guards only refuse; they do no work. They hold for whoever writes, by whatever way.
DROP TRIGGER posting_balances ON settlement_posting;
DROP TRIGGER entry_balances ON settlement_journalentry;
DROP TRIGGER posting_into_open_entry ON settlement_posting;
DROP FUNCTION settlement_entry_balances, settlement_entry_is_open;

-- An entry is booked now, by this transaction, on an open day that is not to come.
CREATE FUNCTION settlement_entries_fit() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    first_open timestamptz;
    bad record;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(4, 1);
    first_open := settlement_first_open_moment();
    SELECT f.source, f.effective_at INTO bad FROM fresh f
        WHERE f.effective_at < first_open OR f.effective_at > clock_timestamp() LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '%: % is in a closed day or still to come', bad.source, bad.effective_at
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    SELECT f.source INTO bad FROM fresh f
        WHERE f.booked_at <> transaction_timestamp()
           OR f.booked_xid <> pg_current_xact_id()::text::bigint LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '%: an entry says itself when it was booked', bad.source
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER entries_fit AFTER INSERT ON settlement_journalentry
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION settlement_entries_fit();

-- At commit, an entry has two postings or more.
CREATE FUNCTION settlement_entry_has_lines() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT count(*) FROM (
            SELECT FROM settlement_posting WHERE entry_id = NEW.id LIMIT 2) lines) < 2 THEN
        RAISE EXCEPTION 'journal entry % has fewer than two postings', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER entry_has_lines AFTER INSERT ON settlement_journalentry
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION settlement_entry_has_lines();

-- What one statement adds to an entry balances, in tiyn and by quantity of each asset; it is added
-- by the transaction that booked the entry, to accounts that are there. (No foreign key to the
-- account: its check would lock the row of an account that all merchants' bookings share, and an
-- account, once there, can neither change nor go.)
CREATE FUNCTION settlement_postings_balance() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    bad record;
BEGIN
    SELECT f.entry_id, f.asset, sum(f.amount_tiyn) AS tiyn INTO bad FROM fresh f
        GROUP BY GROUPING SETS ((f.entry_id), (f.entry_id, f.asset))
        HAVING CASE WHEN GROUPING(f.asset) = 1
                    THEN sum(f.amount_tiyn) <> 0 ELSE sum(f.quantity) <> 0 END
        LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'journal entry % is out of balance by %', bad.entry_id,
            CASE WHEN bad.asset IS NULL THEN bad.tiyn || ' tiyn' ELSE 'some ' || bad.asset END
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    SELECT f.entry_id INTO bad FROM fresh f
        LEFT JOIN settlement_journalentry e ON e.id = f.entry_id
        WHERE e.booked_xid IS DISTINCT FROM pg_current_xact_id()::text::bigint LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'journal entry % is closed', bad.entry_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    SELECT f.account_id INTO bad FROM fresh f
        LEFT JOIN settlement_account a ON a.id = f.account_id WHERE a.id IS NULL LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'there is no account %', bad.account_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER postings_balance AFTER INSERT ON settlement_posting
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION settlement_postings_balance();

-- Every posting of a beneficiary's account says what the account holds after it, and what a shop is
-- owed, or was promised, never falls below nothing. The lock makes the newest posting that is seen
-- the newest that there is: whoever writes to the same beneficiary waits for this transaction.
CREATE FUNCTION settlement_balances_run() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    bad record;
BEGIN
    PERFORM settlement_lock_beneficiaries(ARRAY(
        SELECT a.beneficiary FROM fresh f JOIN settlement_account a ON a.id = f.account_id));
    SELECT f.id, a.code, a.beneficiary INTO bad
        FROM fresh f JOIN settlement_account a ON a.id = f.account_id
        WHERE (f.balance_tiyn IS DISTINCT FROM CASE WHEN a.beneficiary <> '' THEN
                f.amount_tiyn + coalesce((SELECT p.balance_tiyn FROM settlement_posting p
                    WHERE p.account_id = f.account_id AND p.id < f.id
                    ORDER BY p.id DESC LIMIT 1), 0) END)
           OR (a.beneficiary <> '' AND EXISTS (SELECT FROM settlement_posting p
                    WHERE p.account_id = f.account_id AND p.id > f.id
                      AND p.id NOT IN (SELECT id FROM fresh)))
        LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'posting % does not go on from the balance of % %',
            bad.id, bad.code, bad.beneficiary USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    SELECT a.code, a.beneficiary, f.balance_tiyn INTO bad
        FROM fresh f JOIN settlement_account a ON a.id = f.account_id
        JOIN settlement_journalentry e ON e.id = f.entry_id
        WHERE CASE
            WHEN a.code IN ('merchant_payable', 'refunds_payable', 'payouts_in_transit')
                THEN f.balance_tiyn > 0
            WHEN a.code = 'merchant_receivable' THEN f.balance_tiyn < 0
            -- The chain alone may take back what was refunded already.
            WHEN a.code IN ('unsettled_receipts', 'overpayments')
                THEN f.balance_tiyn > 0 AND f.amount_tiyn > 0
                     AND e.kind NOT IN ('receipt', 'reversal', 'allocation')
        END LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '% of % would be overdrawn by % tiyn', bad.code, bad.beneficiary,
            abs(bad.balance_tiyn) USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER postings_run AFTER INSERT ON settlement_posting
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION settlement_balances_run();

-- A day is closed once, after all days before it, when it is over, and for ever.
CREATE FUNCTION settlement_day_is_over() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(4, 1);
    IF NEW.day <= (SELECT max(day) FROM settlement_closedday)
       OR NEW.day >= (clock_timestamp() AT TIME ZONE 'Asia/Almaty')::date THEN
        RAISE EXCEPTION '% is closed already, or not over', NEW.day
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER day_is_over BEFORE INSERT ON settlement_closedday
    FOR EACH ROW EXECUTE FUNCTION settlement_day_is_over();

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['settlement_closedday', 'settlement_lot', 'settlement_lotuse'] LOOP
        EXECUTE format('CREATE TRIGGER %1$s_immutable BEFORE UPDATE OR DELETE ON %1$s
            FOR EACH ROW EXECUTE FUNCTION settlement_refuse_change()', name);
        EXECUTE format('CREATE TRIGGER %1$s_kept BEFORE TRUNCATE ON %1$s
            FOR EACH STATEMENT EXECUTE FUNCTION settlement_refuse_change()', name);
        IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'alatau_app') THEN
            EXECUTE format('GRANT SELECT, INSERT ON %s TO alatau_app', name);
            EXECUTE format('REVOKE UPDATE, DELETE ON %s FROM alatau_app', name);
        END IF;
    END LOOP;
END $$;
