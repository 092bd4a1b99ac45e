-- Guards only refuse; they do no work. They hold for whoever writes, by whatever way.

-- Whoever decides about a batch waits for whoever decides about it now.
CREATE FUNCTION settlement_lock_batch(batch bigint) RETURNS void LANGUAGE sql AS $$
    SELECT pg_advisory_xact_lock(hashtextextended('payout batch ' || batch, 6))
$$;

CREATE FUNCTION settlement_refuse(why text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%', why USING ERRCODE = 'integrity_constraint_violation';
END $$;

CREATE FUNCTION settlement_same_official(one text, other text) RETURNS boolean LANGUAGE sql
IMMUTABLE AS $$ SELECT lower(btrim(one)) = lower(btrim(other)) $$;

-- A payout that came to nothing: its batch was cancelled, or the money came back or never left.
CREATE FUNCTION settlement_payout_ended(payout settlement_payout) RETURNS boolean LANGUAGE sql
STABLE AS $$
    SELECT EXISTS (SELECT FROM settlement_payoutcancellation c WHERE c.batch_id = payout.batch_id)
        OR EXISTS (SELECT FROM settlement_payoutoutcome o
                   WHERE o.payout_id = payout.id AND o.kind IN ('returned', 'unpaid'))
$$;

-- Payouts come with their batch, and one at a time for a shop and value day (R126).
CREATE FUNCTION settlement_payout_fits() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM settlement_lock_beneficiaries(ARRAY[NEW.beneficiary]);
    IF NOT EXISTS (SELECT FROM settlement_payoutbatch b WHERE b.id = NEW.batch_id
                   AND b.value_on = NEW.value_on
                   AND b.prepared_xid = pg_current_xact_id()::text::bigint) THEN
        PERFORM settlement_refuse(format('batch %s takes no more payouts', NEW.batch_id));
    END IF;
    IF NEW.attempt <> (SELECT count(*) FROM settlement_payout p
                       WHERE p.beneficiary = NEW.beneficiary AND p.value_on = NEW.value_on
                         AND settlement_payout_ended(p)) THEN
        PERFORM settlement_refuse(format('%s was not paid %s times in vain on %s',
            NEW.beneficiary, NEW.attempt, NEW.value_on));
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER payout_fits BEFORE INSERT ON settlement_payout
    FOR EACH ROW EXECUTE FUNCTION settlement_payout_fits();

CREATE FUNCTION settlement_batch_is_new() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.prepared_xid <> pg_current_xact_id()::text::bigint
       OR NEW.prepared_at <> transaction_timestamp() THEN
        PERFORM settlement_refuse('a batch says itself when it was prepared');
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER batch_is_new BEFORE INSERT ON settlement_payoutbatch
    FOR EACH ROW EXECUTE FUNCTION settlement_batch_is_new();

-- Four eyes.
CREATE FUNCTION settlement_approval_fits() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM settlement_lock_batch(NEW.batch_id);
    IF EXISTS (SELECT FROM settlement_payoutbatch b WHERE b.id = NEW.batch_id
               AND settlement_same_official(b.prepared_by, NEW.approved_by))
       OR btrim(NEW.approved_by) = '' THEN
        PERFORM settlement_refuse(format('batch %s needs the approval of a second official',
            NEW.batch_id));
    END IF;
    IF EXISTS (SELECT FROM settlement_payoutcancellation c WHERE c.batch_id = NEW.batch_id) THEN
        PERFORM settlement_refuse(format('batch %s is cancelled', NEW.batch_id));
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER approval_fits BEFORE INSERT ON settlement_payoutapproval
    FOR EACH ROW EXECUTE FUNCTION settlement_approval_fits();

CREATE FUNCTION settlement_cancellation_fits() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM settlement_lock_batch(NEW.batch_id);
    IF EXISTS (SELECT FROM settlement_payoutexport e WHERE e.batch_id = NEW.batch_id) THEN
        PERFORM settlement_refuse(format('batch %s is exported: the bank may have paid it',
            NEW.batch_id));
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER cancellation_fits BEFORE INSERT ON settlement_payoutcancellation
    FOR EACH ROW EXECUTE FUNCTION settlement_cancellation_fits();

CREATE FUNCTION settlement_export_fits() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM settlement_lock_batch(NEW.batch_id);
    IF NOT EXISTS (SELECT FROM settlement_payoutapproval a WHERE a.batch_id = NEW.batch_id)
       OR EXISTS (SELECT FROM settlement_payoutcancellation c WHERE c.batch_id = NEW.batch_id) THEN
        PERFORM settlement_refuse(format('batch %s is not approved, or is cancelled',
            NEW.batch_id));
    END IF;
    IF NEW.sha256 <> encode(sha256(NEW.content), 'hex') THEN
        PERFORM settlement_refuse('the hash is not of the file');
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER export_fits BEFORE INSERT ON settlement_payoutexport
    FOR EACH ROW EXECUTE FUNCTION settlement_export_fits();

-- What became of a payout is said by a line of the bank that agrees with it, or by two officials;
-- and in order: paid, then returned; or never paid.
CREATE FUNCTION settlement_outcome_fits() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    payout settlement_payout;
    line settlement_bankline;
    before text[];
BEGIN
    SELECT * INTO payout FROM settlement_payout WHERE id = NEW.payout_id;
    PERFORM settlement_lock_beneficiaries(ARRAY[payout.beneficiary]);
    SELECT * INTO line FROM settlement_bankline WHERE id = NEW.line_id;
    before := ARRAY(SELECT kind FROM settlement_payoutoutcome WHERE payout_id = NEW.payout_id);
    IF NOT EXISTS (SELECT FROM settlement_payoutexport e WHERE e.batch_id = payout.batch_id) THEN
        PERFORM settlement_refuse(format('payout %s is not exported', payout.id));
    END IF;
    IF before <> (CASE NEW.kind WHEN 'returned' THEN ARRAY['paid'] ELSE ARRAY[]::text[] END) THEN
        PERFORM settlement_refuse(format('payout %s is %s already, or not yet paid', payout.id,
            coalesce(nullif(array_to_string(before, ', '), ''), 'unknown')));
    END IF;
    IF NEW.kind = 'unpaid' AND (NEW.line_id IS NOT NULL OR btrim(NEW.decided_by) = ''
           OR btrim(NEW.seconded_by) = ''
           OR settlement_same_official(NEW.decided_by, NEW.seconded_by)) THEN
        PERFORM settlement_refuse(format('payout %s: two officials say that it was not paid',
            payout.id));
    END IF;
    IF NEW.kind <> 'unpaid' AND (line.id IS NULL OR line.number IS DISTINCT FROM payout.id
           OR line.amount_tiyn <> (CASE NEW.kind WHEN 'paid' THEN -1 ELSE 1 END) * payout.amount_tiyn
           OR line.iban <> (SELECT payer_iban FROM settlement_payoutbatch
                            WHERE id = payout.batch_id)
           OR line.counterparty_iban NOT IN ('', payout.payee_iban)) THEN
        PERFORM settlement_refuse(format('payout %s: no line of the bank says so', payout.id));
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER outcome_fits BEFORE INSERT ON settlement_payoutoutcome
    FOR EACH ROW EXECUTE FUNCTION settlement_outcome_fits();

-- At commit, the ledger says the same as these rows.
CREATE FUNCTION settlement_payout_entry(payout bigint, step text) RETURNS boolean LANGUAGE sql
STABLE AS $$
    SELECT EXISTS (
        SELECT FROM settlement_payout p
        JOIN settlement_journalentry e ON e.source = 'payout ' || p.id || step
        JOIN settlement_posting l ON l.entry_id = e.id
        JOIN settlement_account a ON a.id = l.account_id
        WHERE p.id = payout AND a.beneficiary = p.beneficiary AND abs(l.amount_tiyn) = p.amount_tiyn)
$$;

CREATE FUNCTION settlement_payout_is_booked() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    missing bigint;
BEGIN
    IF TG_TABLE_NAME = 'settlement_payout' THEN
        SELECT NEW.id INTO missing WHERE NOT settlement_payout_entry(NEW.id, '');
    ELSIF TG_TABLE_NAME = 'settlement_payoutoutcome' THEN
        SELECT NEW.payout_id INTO missing WHERE NOT settlement_payout_entry(NEW.payout_id,
            CASE NEW.kind WHEN 'paid' THEN ' payout_confirmed' ELSE ' payout_returned' END);
    ELSE
        SELECT p.id INTO missing FROM settlement_payout p WHERE p.batch_id = NEW.batch_id
            AND NOT settlement_payout_entry(p.id, ' payout_returned') LIMIT 1;
    END IF;
    IF missing IS NOT NULL THEN
        PERFORM settlement_refuse(format('payout %s is not in the ledger as %s says', missing,
            TG_TABLE_NAME));
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER payout_is_booked AFTER INSERT ON settlement_payout
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION settlement_payout_is_booked();
CREATE CONSTRAINT TRIGGER outcome_is_booked AFTER INSERT ON settlement_payoutoutcome
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION settlement_payout_is_booked();
CREATE CONSTRAINT TRIGGER cancellation_is_booked AFTER INSERT ON settlement_payoutcancellation
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION settlement_payout_is_booked();

-- Numbers of payment orders, apart from those that people count by hand.
ALTER SEQUENCE settlement_payout_id_seq RESTART WITH 1000001;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['payoutbatch', 'payout', 'payoutapproval', 'payoutcancellation',
            'payoutexport', 'payoutoutcome', 'payouthold', 'statementfile', 'statementspan',
            'bankline'] LOOP
        EXECUTE format('CREATE TRIGGER %1$s_immutable BEFORE UPDATE OR DELETE ON settlement_%1$s
            FOR EACH ROW EXECUTE FUNCTION settlement_refuse_change()', name);
        EXECUTE format('CREATE TRIGGER %1$s_kept BEFORE TRUNCATE ON settlement_%1$s
            FOR EACH STATEMENT EXECUTE FUNCTION settlement_refuse_change()', name);
        IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'alatau_app') THEN
            EXECUTE format('GRANT SELECT, INSERT ON settlement_%s TO alatau_app', name);
            EXECUTE format('REVOKE UPDATE, DELETE ON settlement_%s FROM alatau_app', name);
        END IF;
    END LOOP;
END $$;
