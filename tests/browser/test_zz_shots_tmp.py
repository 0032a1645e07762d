import datetime as dt
import sys, sqlite3, glob, random
sys.path.insert(0, "/work/main")
def test_shots(browse, service):
    random.seed(4)
    # write a made-up past into the test's own database
    db = [f for f in glob.glob(str(service.folder/"data"/"**"), recursive=True) if f.endswith((".db",".sqlite",".sqlite3"))]
    print(db)
    c = sqlite3.connect(db[0], timeout=20)
    print(c.execute("select sql from sqlite_master where name like '%transition%'").fetchall())
    print(c.execute("select * from transition order by id desc limit 1").fetchall() if 0 else "")
    t=[r[0] for r in c.execute("select name from sqlite_master where type='table'")]
    print(t)
    tt=next(x for x in t if "transition" in x); ht=next(x for x in t if x in("host","hosts"))
    print(c.execute(f"select * from {tt} limit 1").fetchall())
    row=c.execute(f"select at from {tt} limit 1").fetchone()[0]; kind=type(row); print(row)
    now=dt.datetime.now(dt.UTC)
    def val(m):
        return m.timestamp() if kind is float else (int(m.timestamp()*1e6) if kind is int else (m.strftime("%Y-%m-%d %H:%M:%S.%f")+row[26:]))
    sid=c.execute(f"select stage_id from {ht} group by stage_id order by count(*) desc limit 1").fetchone()[0]
    hs=[r[0] for r in c.execute(f"select id from {ht} where stage_id=? order by name",(sid,))]
    for i,h in enumerate(hs):
        start=now-dt.timedelta(hours=max(0.2, 23-i*0.045+random.random()))
        c.execute(f"update {ht} set enrolled_at=? where id=?",(val(start),h))
        c.execute(f"update {tt} set at=? where host_id=?",(val(start),h))
        m=start
        for _ in range(random.choice([0,0,0,1,2])):
            m=m+dt.timedelta(hours=random.random()*8)
            e=m+dt.timedelta(minutes=random.random()*70)
            if e>now: break
            c.execute(f"insert into {tt}(host_id,stage_id,at,from_state,to_state,reason) values(?,?,?,?,?,?)",(h,sid,val(m),"live","stale","silent"))
            last=random.random()<.3
            c.execute(f"insert into {tt}(host_id,stage_id,at,from_state,to_state,reason) values(?,?,?,?,?,?)",(h,sid,val(e),"stale","gone" if last else "live","x"))
            if last: break
            m=e
    c.commit(); c.close()
    at=(now-dt.timedelta(hours=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
    page=browse(f"/stages/shop/fleet/timeline?hours=24&at={at}"); page.screenshot(path="/tmp/tl-wide.png")
    page.locator("#timeline-scroll").evaluate("b=>b.scrollTop=3000"); page.get_by_text("The same as a table").click(); page.screenshot(path="/tmp/tl-wide2.png", full_page=True)
    import time; s=time.monotonic(); r=page.request.get(service.url+"/stages/shop/fleet/timeline?hours=168"); print("ms",(time.monotonic()-s)*1000,len(r.body()))
    p2=browse(f"/stages/shop/fleet/timeline?hours=24&at={at}",viewport={"width":390,"height":844},color_scheme="dark"); p2.screenshot(path="/tmp/tl-narrow.png", full_page=True)
    p2.goto(service.url+"/stages/shop/fleet/timeline?hours=168&at=yesterday"); p2.screenshot(path="/tmp/tl-err.png", full_page=True)
    service.stage("shop/door2", interval_seconds=1800, ttl_seconds=3600, approval=True)
    service.enrol(service.join_token("shop/door2"), "web-1", "10.8.2.1")
    page.goto(service.url+"/stages/shop/door2/timeline?hours=1"); page.screenshot(path="/tmp/tl-pend.png")
    page.goto(service.url+"/stages/shop/door2"); page.screenshot(path="/tmp/tl-stage.png"); page.get_by_role("link",name="web-1").click(); page.screenshot(path="/tmp/tl-host.png")
    page.goto(service.url+"/stages/shop/empty/timeline"); page.screenshot(path="/tmp/tl-empty.png")
