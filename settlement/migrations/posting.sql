-- The one way into the journal: locks, entries, postings and running balances in one round trip.
--
-- Locks, in this order, all held until the transaction ends: the day (shared; a day's close takes
-- it alone), then beneficiaries by name, then assets by name. Each statement of a volatile function sees, under READ
-- COMMITTED, all that was committed before it began: so what is read after the locks is the truth.
CREATE OR REPLACE FUNCTION settlement_lock_beneficiaries(names text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(4, 1);
    PERFORM pg_advisory_xact_lock(hashtextextended(one.name, 3)) FROM (
        SELECT DISTINCT name FROM unnest(names) AS name WHERE name <> '' ORDER BY name
    ) one;
END $$;

CREATE OR REPLACE FUNCTION settlement_lock_assets(names text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(4, 1);
    PERFORM pg_advisory_xact_lock(hashtextextended(one.name, 5)) FROM (
        SELECT DISTINCT name FROM unnest(names) AS name ORDER BY name
    ) one;
END $$;

CREATE OR REPLACE FUNCTION settlement_first_open_moment() RETURNS timestamptz LANGUAGE sql AS $$
    SELECT coalesce(max(day + 1)::timestamp AT TIME ZONE 'Asia/Almaty', '-infinity')
    FROM settlement_closedday
$$;

-- The values of a column in one text, each after a unit separator; a record separator is null.
CREATE OR REPLACE FUNCTION settlement_column(joined text) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (string_to_array(joined, chr(31), chr(30)))[2:]
$$;

CREATE OR REPLACE FUNCTION settlement_post(
    kinds text, sources text, subjects text, demands text, quotes text, reverses text,
    memos text, moments text, line_entries text, line_codes text, line_kinds text,
    line_owners text, line_tiyn text, line_assets text, line_units text
) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    codes text[] := settlement_column(line_codes);
    owners text[] := settlement_column(line_owners);
    places integer[] := settlement_column(line_entries);
    tiyn bigint[] := settlement_column(line_tiyn);
    first_open timestamptz;
    accounts bigint[];
    ids bigint[];
BEGIN
    PERFORM settlement_lock_beneficiaries(owners);
    first_open := settlement_first_open_moment();
    accounts := settlement_accounts(codes, owners);
    IF array_position(accounts, NULL) IS NOT NULL THEN
        INSERT INTO settlement_account (code, kind, beneficiary)
            SELECT DISTINCT l.code, l.kind, l.owner
            FROM unnest(codes, settlement_column(line_kinds), owners) AS l(code, kind, owner)
            ORDER BY 1, 3
            ON CONFLICT DO NOTHING;
        accounts := settlement_accounts(codes, owners);
    END IF;
    WITH posted AS (
        INSERT INTO settlement_journalentry
            (kind, source, subject, demand, quote_id, reverses_id, memo, occurred_at, effective_at)
        SELECT e.kind, e.source, e.subject, e.demand, e.quote::uuid, e.reverses::bigint, e.memo,
               e.moment::timestamptz,
               least(greatest(e.moment::timestamptz, first_open), clock_timestamp())
        FROM unnest(settlement_column(kinds), settlement_column(sources),
                    settlement_column(subjects), settlement_column(demands),
                    settlement_column(quotes), settlement_column(reverses),
                    settlement_column(memos), settlement_column(moments)) WITH ORDINALITY
            AS e(kind, source, subject, demand, quote, reverses, memo, moment, place)
        ORDER BY e.place
        RETURNING id
    )
    SELECT array_agg(id ORDER BY id) INTO ids FROM posted;
    INSERT INTO settlement_posting
        (entry_id, account_id, amount_tiyn, asset, quantity, balance_tiyn)
    SELECT ids[l.entry], l.account, l.tiyn, l.asset, l.units::numeric,
           CASE WHEN l.owner <> '' THEN
               coalesce((SELECT p.balance_tiyn FROM settlement_posting p
                         WHERE p.account_id = l.account ORDER BY p.id DESC LIMIT 1), 0)
               + sum(l.tiyn) OVER (PARTITION BY l.account ORDER BY l.place)
           END
    FROM unnest(places, accounts, owners, tiyn, settlement_column(line_assets),
                settlement_column(line_units))
        WITH ORDINALITY AS l(entry, account, owner, tiyn, asset, units, place)
    ORDER BY l.place;
    RETURN ids;
END $$;

-- The accounts of some lines, in their order; null where one is not there yet.
CREATE OR REPLACE FUNCTION settlement_accounts(codes text[], owners text[]) RETURNS bigint[]
    LANGUAGE sql STABLE AS $$
    SELECT array_agg(a.id ORDER BY l.place)
    FROM unnest(codes, owners) WITH ORDINALITY AS l(code, owner, place)
    LEFT JOIN settlement_account a ON a.code = l.code AND a.beneficiary = l.owner
$$;

-- Guards the postings that one statement adds, whoever writes them. They balance, in tiyn and by
-- quantity of each asset. They are added by the transaction that booked their entry, to accounts
-- that are there (no foreign key: its check would lock rows that all merchants' bookings share, and
-- what is there can neither change nor go). Each posting of a beneficiary's account says what the
-- account holds after it, and what a shop is owed, or was promised, never falls below nothing.
--
-- The lock makes the newest posting that is seen the newest that there is: whoever writes to the
-- same beneficiary waits for this transaction.
CREATE OR REPLACE FUNCTION settlement_postings_fit() RETURNS trigger LANGUAGE plpgsql AS $$
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
    PERFORM settlement_lock_beneficiaries(ARRAY(
        SELECT a.beneficiary FROM fresh f JOIN settlement_account a ON a.id = f.account_id
        WHERE a.beneficiary <> ''));
    SELECT * INTO bad FROM (
        SELECT f.id, f.entry_id, f.account_id, f.balance_tiyn, a.code, a.beneficiary,
            e.booked_xid IS DISTINCT FROM pg_current_xact_id()::text::bigint AS is_closed,
            a.id IS NULL AS is_nowhere,
            f.balance_tiyn IS DISTINCT FROM CASE WHEN a.beneficiary <> '' THEN
                f.amount_tiyn + coalesce(CASE WHEN f.nth = 1 THEN (
                    SELECT p.balance_tiyn FROM settlement_posting p
                    WHERE p.account_id = f.account_id AND p.id < f.id
                    ORDER BY p.id DESC LIMIT 1) ELSE f.before_tiyn END, 0) END
            OR a.beneficiary <> '' AND f.last_id <> (
                SELECT max(p.id) FROM settlement_posting p WHERE p.account_id = f.account_id)
            OR a.beneficiary <> '' AND f.nth > 1 AND EXISTS (
                SELECT FROM settlement_posting p WHERE p.account_id = f.account_id
                  AND p.id > f.before_id AND p.id < f.id) AS is_broken,
            CASE
                WHEN a.code IN ('merchant_payable', 'refunds_payable', 'payouts_in_transit')
                    THEN f.balance_tiyn > 0
                WHEN a.code = 'merchant_receivable' THEN f.balance_tiyn < 0
                -- The chain alone may take back what was refunded already.
                WHEN a.code IN ('unsettled_receipts', 'overpayments')
                    THEN f.balance_tiyn > 0 AND f.amount_tiyn > 0
                         AND e.kind NOT IN ('receipt', 'reversal', 'allocation')
            END AS is_overdrawn
        FROM (
            SELECT one.*, row_number() OVER line AS nth, lag(one.id) OVER line AS before_id,
                   lag(one.balance_tiyn) OVER line AS before_tiyn,
                   max(one.id) OVER (PARTITION BY one.account_id) AS last_id
            FROM fresh one WINDOW line AS (PARTITION BY one.account_id ORDER BY one.id)
        ) f
        LEFT JOIN settlement_account a ON a.id = f.account_id
        LEFT JOIN settlement_journalentry e ON e.id = f.entry_id
    ) seen
    WHERE is_closed OR is_nowhere OR is_broken OR is_overdrawn ORDER BY id LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '%', CASE
            WHEN bad.is_closed THEN format('journal entry %s is closed', bad.entry_id)
            WHEN bad.is_nowhere THEN format('there is no account %s', bad.account_id)
            WHEN bad.is_broken THEN format('posting %s does not go on from the balance of %s %s',
                bad.id, bad.code, bad.beneficiary)
            ELSE format('%s of %s would be overdrawn by %s tiyn', bad.code, bad.beneficiary,
                abs(bad.balance_tiyn))
            END USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
