-- Guards only refuse; they do no work.

CREATE FUNCTION settlement_entry_balances() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    id_of_entry bigint;
    total numeric;
    lines bigint;
BEGIN
    IF TG_TABLE_NAME = 'settlement_posting' THEN
        id_of_entry := NEW.entry_id;
    ELSE
        id_of_entry := NEW.id;
    END IF;
    SELECT coalesce(sum(amount_tiyn), 0), count(*) INTO total, lines
        FROM settlement_posting WHERE entry_id = id_of_entry;
    IF lines < 2 THEN
        RAISE EXCEPTION 'journal entry % has fewer than two postings', id_of_entry
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF total <> 0 THEN
        RAISE EXCEPTION 'journal entry % is out of balance by % tiyn', id_of_entry, total
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER posting_balances AFTER INSERT ON settlement_posting
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION settlement_entry_balances();
CREATE CONSTRAINT TRIGGER entry_balances AFTER INSERT ON settlement_journalentry
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION settlement_entry_balances();

-- A posting added to an entry of an earlier transaction would change a fact, even in balance.
-- booked_at is the booking transaction's own timestamp.
CREATE FUNCTION settlement_entry_is_open() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM settlement_journalentry
                   WHERE id = NEW.entry_id AND booked_at = transaction_timestamp()) THEN
        RAISE EXCEPTION 'journal entry % is closed', NEW.entry_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER posting_into_open_entry BEFORE INSERT ON settlement_posting
    FOR EACH ROW EXECUTE FUNCTION settlement_entry_is_open();

CREATE FUNCTION settlement_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused: the ledger is corrected by reversing entries', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END $$;

CREATE TRIGGER posting_immutable BEFORE UPDATE OR DELETE ON settlement_posting
    FOR EACH ROW EXECUTE FUNCTION settlement_refuse_change();
CREATE TRIGGER entry_immutable BEFORE UPDATE OR DELETE ON settlement_journalentry
    FOR EACH ROW EXECUTE FUNCTION settlement_refuse_change();
CREATE TRIGGER quote_immutable BEFORE UPDATE OR DELETE ON settlement_quote
    FOR EACH ROW EXECUTE FUNCTION settlement_refuse_change();
CREATE TRIGGER posting_kept BEFORE TRUNCATE ON settlement_posting
    FOR EACH STATEMENT EXECUTE FUNCTION settlement_refuse_change();
CREATE TRIGGER entry_kept BEFORE TRUNCATE ON settlement_journalentry
    FOR EACH STATEMENT EXECUTE FUNCTION settlement_refuse_change();
CREATE TRIGGER quote_kept BEFORE TRUNCATE ON settlement_quote
    FOR EACH STATEMENT EXECUTE FUNCTION settlement_refuse_change();

-- The application's role may read and add, never change. Roles belong to the whole server, so
-- another database's migration may create it at the same moment.
DO $$ BEGIN
    CREATE ROLE alatau_app NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation OR insufficient_privilege THEN NULL;
END $$;
DO $$ BEGIN
    IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'alatau_app') THEN
        GRANT SELECT, INSERT ON settlement_quote, settlement_journalentry, settlement_posting,
            settlement_account TO alatau_app;
        GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO alatau_app;
    END IF;
END $$;
