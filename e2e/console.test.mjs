// The console in a real browser. Started by `cargo test -p doorbook-dev --test console`, which brings the service up and tells where
// it is. Each test has a browser context of its own; what goes wrong leaves a screenshot beside those of the run.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";

import { chromium } from "playwright-core";

const { BASE, ADMIN, AUDITOR, PASSWORD, PERSON, LEAVER, CHROMIUM, SHOTS } = process.env;
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
// Chromium asks hosts of its own for updates otherwise.
const QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"];

let browser;

before(async () => {
    mkdirSync(SHOTS, { recursive: true });
    browser = await chromium.launch({ executablePath: CHROMIUM, args: QUIET });
});
after(() => browser.close());

// A page that notes whatever the browser complains about.
async function open(options = {}) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
    const page = await context.newPage();
    page.complaints = [];
    page.on("console", (message) => {
        if (["error", "warning"].includes(message.type())) page.complaints.push(message.text());
    });
    page.on("pageerror", (error) => page.complaints.push(String(error)));
    return page;
}

async function signIn(page, email) {
    await page.goto(`${BASE}/admin/`);
    await page.getByLabel("E-mail address").fill(email);
    await page.getByLabel("Password").fill(PASSWORD);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("heading", { level: 1, name: "Overview" }).waitFor();
}

async function signedIn(email, options) {
    const page = await open(options);
    await signIn(page, email);
    return page;
}

// The view that admins search by follows the log: what has just happened is there a moment later.
async function until(what, holds) {
    for (let tries = 0; tries < 100; tries += 1) {
        if (await holds()) return;
        await new Promise((resolve) => setTimeout(resolve, 100));
    }
    assert.fail(`waited in vain: ${what}`);
}

const shot = (page, name) => page.screenshot({ path: `${SHOTS}/${name}.png`, fullPage: true });

async function accountOf(page, email) {
    await page.goto(`${BASE}/admin/accounts/`);
    await page.getByLabel("E-mail address").fill(email);
    await page.getByRole("button", { name: "Search" }).click();
    await page.locator("tbody a").first().click();
    await page.getByRole("heading", { level: 1, name: "Account" }).waitFor();
}

// Violations of axe-core that keep somebody out.
async function barriers(page) {
    // The policy of the page allows no foreign script: axe is brought in past it, as a browser's own tools are.
    const client = await page.context().newCDPSession(page);
    await client.send("Page.enable");
    const { frameTree } = await client.send("Page.getFrameTree");
    const { executionContextId } = await client.send("Page.createIsolatedWorld", { frameId: frameTree.frame.id });
    const run = async (expression) => {
        const { result, exceptionDetails } = await client.send("Runtime.evaluate",
            { expression, contextId: executionContextId, awaitPromise: true, returnByValue: true });
        assert.equal(exceptionDetails, undefined, JSON.stringify(exceptionDetails));
        return result.value;
    };
    await run(AXE);
    const violations = await run("axe.run(document, { resultTypes: ['violations'] }).then((found) => found.violations.map(" +
        "({ id, impact, nodes }) => ({ id, impact, where: nodes.map((node) => node.target.join(' ') + ' ' + node.failureSummary) })))");
    return violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
}

test("whoever is not signed in is asked to, and comes back to where they wanted to go", async () => {
    const page = await open();
    await page.goto(`${BASE}/admin/system/`);
    assert.match(page.url(), /\/admin\/login\/\?next=/);
    await page.getByLabel("E-mail address").fill(ADMIN);
    await page.getByLabel("Password").fill("not the password");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("alert").waitFor();
    assert.equal(await page.getByLabel("E-mail address").inputValue(), ADMIN);
    await page.getByLabel("Password").fill(PASSWORD);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("heading", { level: 1, name: "System" }).waitFor();
    assert.equal(new URL(page.url()).pathname, "/admin/system/");
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.goto(`${BASE}/admin/system/`);
    assert.match(page.url(), /\/admin\/login\//);
});

test("somebody without a role is not let in", async () => {
    const page = await open();
    await page.goto(`${BASE}/admin/login/`);
    await page.getByLabel("E-mail address").fill(PERSON);
    await page.getByLabel("Password").fill(PASSWORD);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("alert").waitFor();
    await page.goto(`${BASE}/admin/`);
    assert.match(page.url(), /\/admin\/login\//);
});

test("the overview draws what happened, and a table says the same", async () => {
    const page = await signedIn(ADMIN);
    assert.ok(await page.locator(".drawing svg polyline").count() >= 3);
    const total = await page.locator(".legend li", { hasText: "Registered" }).locator(".sum").innerText();
    const figure = page.locator("figure", { hasText: "Registrations and resets" });
    await figure.getByText("As a table").click();
    const cells = await figure.locator("tbody tr").evaluateAll((rows) => rows.map((row) => Number(row.lastElementChild.textContent)));
    assert.equal(cells.reduce((sum, count) => sum + count, 0), Number(total));
    assert.ok(Number(total) >= 3, total);
    await shot(page, "overview");
    await page.getByRole("link", { name: "30d" }).click();
    assert.equal(await figure.locator("tbody tr").count(), 30);
    assert.deepEqual(page.complaints, []);
});

test("who disabled an account, from where and why is found in three clicks", async () => {
    const page = await signedIn(ADMIN);
    await accountOf(page, PERSON);
    await page.locator("summary", { hasText: "Disable" }).click();
    await page.locator(".order[open]").getByLabel("Reason").fill("the owner has asked by telephone");
    await page.locator(".order[open]").getByRole("button").click();
    await page.getByRole("status").waitFor();
    assert.match(await page.locator(".facts").innerText(), /disabled/);

    await page.goto(`${BASE}/admin/`);
    await until("the disabling among the warnings", async () => {
        await page.reload();
        return await page.getByRole("link", { name: "AccountDisabled" }).count() > 0;
    });
    // One click.
    await page.getByRole("link", { name: "AccountDisabled" }).first().click();
    await page.getByRole("heading", { level: 1, name: "AccountDisabled" }).waitFor();
    const text = await page.locator("main").innerText();
    for (const wanted of ["the owner has asked by telephone", "127.0.0.1", "HeadlessChrome"]) assert.ok(text.includes(wanted), wanted);
    await shot(page, "event");

    await accountOf(page, PERSON);
    await page.locator("summary", { hasText: "Enable" }).click();
    await page.locator(".order[open]").getByLabel("Reason").fill("it was a mistake");
    await page.locator(".order[open]").getByRole("button").click();
    await page.getByRole("status").waitFor();
    assert.match(await page.locator(".facts").innerText(), /active/);
    await shot(page, "account");
});

test("an auditor finds events by a combination of fields, sees masks, and reveals one with a reason", async () => {
    const page = await signedIn(AUDITOR);
    const search = async () => {
        await page.goto(`${BASE}/admin/audit/`);
        await page.locator("summary", { hasText: "Search" }).click();
        await page.getByLabel("Type").fill("Registered");
        await page.getByLabel("E-mail address").fill(PERSON);
        await page.getByRole("button", { name: "Search" }).click();
    };
    await until("the registration", async () => {
        await search();
        return await page.getByRole("link", { name: "Registered" }).count() === 1;
    });
    assert.match(page.url(), /type=Registered&email=/);
    await shot(page, "search");
    await page.getByRole("link", { name: "Registered" }).click();
    assert.ok(!(await page.locator("main").innerText()).includes(PERSON));
    await page.getByLabel("Reason").fill("a complaint");
    await page.getByRole("button", { name: "Reveal" }).click();
    await page.getByRole("status").waitFor();
    assert.ok((await page.locator("main").innerText()).includes(PERSON));
    await page.goto(`${BASE}/admin/accounts/`);
    await page.locator("tbody a").first().click();
    assert.equal(await page.getByRole("heading", { name: "Actions" }).count(), 0);
});

test("a field that breaks a rule is named, and what was written stays", async () => {
    const page = await signedIn(AUDITOR);
    await page.goto(`${BASE}/admin/audit/?address=nowhere&type=LoggedIn`);
    assert.match(await page.getByRole("alert").innerText(), /address/);
    assert.equal(await page.getByLabel("Type").inputValue(), "LoggedIn");
    assert.equal(await page.getByLabel("Client address").getAttribute("aria-invalid"), "true");
});

test("an export holds the events of the search", async () => {
    const page = await signedIn(AUDITOR);
    await page.goto(`${BASE}/admin/audit/?type=Registered`);
    const download = page.waitForEvent("download");
    await page.getByRole("button", { name: "Export CSV" }).click();
    const lines = readFileSync(await (await download).path(), "utf8").trimEnd().split("\r\n");
    assert.match(lines[0], /^position,id,at,type/);
    assert.ok(lines.length > 3 && lines.slice(1).every((line) => line.includes(",Registered,")), lines.join("\n"));
});

test("a live event arrives without a reload", async () => {
    const page = await signedIn(AUDITOR);
    await page.goto(`${BASE}/admin/audit/live/?type=LoginFailed`);
    await page.getByText("Live: new events appear on top.").waitFor();
    const rows = page.locator(".trail tbody tr.fresh");
    assert.equal(await rows.count(), 0);
    const answer = await fetch(`${BASE}/api/auth/login/`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ email: PERSON, password: "not the password" }),
    });
    assert.equal(answer.status, 401);
    await rows.first().waitFor();
    assert.match(await rows.first().innerText(), /LoginFailed/);
    assert.deepEqual(page.complaints, []);
    await shot(page, "live");
});

test("an account is seen as it was, and why its login was refused", async () => {
    const page = await signedIn(ADMIN);
    await accountOf(page, PERSON);
    await page.getByRole("link", { name: "Why logins were refused" }).click();
    // A page that is still being left cannot be loaded anew.
    await page.waitForURL("**/refusals/");
    await until("the refusal", async () => {
        await page.reload();
        return await page.getByText("wrong password").count() > 0;
    });
    await page.getByRole("link", { name: "The account", exact: true }).click();
    await page.getByRole("link", { name: "As it was at another time" }).click();
    await page.getByLabel("At", { exact: true }).fill("2020-01-01T00:00:00Z");
    await page.getByLabel("Compared with").fill(new Date().toISOString());
    await page.getByRole("button", { name: "Show" }).click();
    assert.match(await page.locator(".facts").innerText(), /absent/);
    await page.getByRole("link", { name: "Registered" }).first().waitFor();
    assert.deepEqual(await barriers(page), []);
    await shot(page, "past");
});

test("what became of an account's mail is found from its page, and an admin has it sent anew for a reason", async () => {
    const page = await signedIn(ADMIN, { javaScriptEnabled: false });
    await until("the mail to be sent", async () => {
        await accountOf(page, PERSON);
        return await page.getByRole("link", { name: "1 sent" }).count() > 0;
    });
    await page.getByRole("link", { name: "1 sent" }).click();
    await page.locator("tbody a[href*='/mails/']").first().click();
    assert.match(await page.locator(".facts").innerText(), /verify[\s\S]*sent/);
    await page.locator("summary", { hasText: "Send it anew" }).click();
    await page.locator(".order[open]").getByLabel("Reason").fill("it was lost in a filter");
    await page.locator(".order[open]").getByRole("button").click();
    await page.getByRole("status").waitFor();
    await page.getByText("Sent instead of").waitFor();
    const story = page.locator("section[aria-labelledby=story] table");
    assert.match(await story.innerText(), /MailQueued[\s\S]*it was lost in a filter/);
    await until("the other mail to be sent", async () => {
        await page.reload();
        return /MailSent/.test(await story.innerText());
    });
    await shot(page, "mail");
    await page.goto(`${BASE}/admin/mails/`);
    await shot(page, "mails");
    await page.goto(`${BASE}/admin/mails/?state=x`);
    assert.match(await page.getByRole("alert").innerText(), /state/);
});

test("an account is erased for a reason, and the receipt says until when backups hold its key", async () => {
    const page = await signedIn(ADMIN);
    await accountOf(page, LEAVER);
    const address = page.url();
    await page.locator("summary", { hasText: "Erase" }).click();
    await page.locator(".order[open]").getByLabel("Reason").fill("asked for by letter");
    await page.locator(".order[open]").getByRole("button").click();
    await page.getByRole("heading", { name: "Receipt of the erasure" }).waitFor();
    assert.match(await page.locator("pre").first().innerText(), /doorbook erasure\/v1[\s\S]*key-backups-until/);
    await shot(page, "erased");
    await page.goto(address);
    assert.ok(!(await page.locator("main").innerText()).includes(LEAVER));
    await page.goto(`${BASE}/admin/accounts/`);
    await page.getByLabel("E-mail address").fill(LEAVER);
    await page.getByRole("button", { name: "Search" }).click();
    await page.getByText("No account is like that.").waitFor();
});

test("everything is readable in the dark and on a phone", async () => {
    const page = await signedIn(ADMIN, { colorScheme: "dark", viewport: { width: 390, height: 844 } });
    const paper = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    assert.ok(paper.match(/\d+/g).every((part) => Number(part) < 60), paper);
    for (const [name, path] of Object.entries({ overview: "/admin/", search: "/admin/audit/?type=LoggedIn", mails: "/admin/mails/", system: "/admin/system/" })) {
        await page.goto(BASE + path);
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        assert.ok(overflow <= 0, `${path} is ${overflow} px too wide`);
        await shot(page, `phone-dark-${name}`);
    }
    assert.deepEqual(await barriers(page), []);
});

test("nothing on any page keeps somebody out", async () => {
    const page = await open();
    await page.goto(`${BASE}/admin/login/`);
    assert.deepEqual(await barriers(page), [], "sign in");
    await signIn(page, ADMIN);
    for (const path of ["", "accounts/", "mails/", "mails/?state=x", "audit/?type=Registered", "audit/?address=nowhere", "audit/live/", "checkpoints/", "system/"]) {
        await page.goto(`${BASE}/admin/${path}`);
        for (const summary of await page.locator("summary").all()) await summary.click();
        assert.deepEqual(await barriers(page), [], path);
    }
    await accountOf(page, PERSON);
    for (const summary of await page.locator("summary").all()) await summary.click();
    assert.deepEqual(await barriers(page), [], "account");
    await page.locator("table.trail a[href*='/events/']").first().click();
    assert.deepEqual(await barriers(page), [], "event");
    await page.goto(`${BASE}/admin/mails/`);
    await page.locator("tbody a[href*='/mails/']").first().click();
    await page.getByRole("heading", { level: 1, name: "Mail", exact: true }).waitFor();
    for (const summary of await page.locator("summary").all()) await summary.click();
    assert.deepEqual(await barriers(page), [], "mail");
});

test("the whole of it works without a script", async () => {
    const page = await signedIn(ADMIN, { javaScriptEnabled: false });
    for (const name of ["Accounts", "Mails", "Trail", "Alerts", "Checkpoints", "System"]) {
        await page.getByRole("navigation", { name: "Console" }).getByRole("link", { name, exact: true }).click();
        assert.equal(await page.locator("h1").count(), 1);
        assert.ok(await page.locator("[aria-current=page]").count() === 1, name);
    }
});

test("the keyboard reaches the content first and every control after it", async () => {
    const page = await signedIn(ADMIN);
    await page.goto(`${BASE}/admin/audit/`);
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the content");
    await page.keyboard.press("Enter");
    await page.keyboard.press("Tab");
    assert.ok(await page.evaluate(() => document.querySelector("main").contains(document.activeElement)));
});

test("an address that is nowhere is a page too", async () => {
    const page = await signedIn(ADMIN);
    const answer = await page.goto(`${BASE}/admin/nowhere/`);
    assert.equal(answer.status(), 404);
    await page.getByRole("heading", { name: "Not found" }).waitFor();
});
