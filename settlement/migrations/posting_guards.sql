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

CREATE TRIGGER postings_fit AFTER INSERT ON settlement_posting
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION settlement_postings_fit();

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
