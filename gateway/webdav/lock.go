package webdav

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/causewayfs/causeway/vfs"
	"golang.org/x/net/webdav"
)

// lock implements LOCK (section 9.10).
func (r *request) lock() error {
	info, err := r.readXML("lockinfo")
	if err != nil {
		return err
	}
	timeout, err := parseTimeout(r.Header.Get("Timeout"), r.h.MaxLock)
	if err != nil {
		return refused(http.StatusBadRequest, err.Error())
	}
	p, err := r.here()
	if err != nil {
		return err
	}
	if p.orphan {
		return refused(http.StatusConflict, "there is no such collection to lock it in")
	}
	if p, _, err = r.judge(p); err != nil {
		return err
	}
	if info == nil {
		return r.refreshLock(p, timeout)
	}
	l, err := parseLock(info)
	if err != nil {
		return err
	}
	l.Root, l.Timeout, l.Principal = p.path, timeout, r.h.User(r.Request)
	switch d := r.Header.Get("Depth"); {
	case d == "" || strings.EqualFold(d, "infinity"): // section 10.2
		l.Infinite = true
	case d != "0":
		return refused(http.StatusBadRequest, "LOCK has Depth 0 or infinity")
	}
	return r.newLock(p, l)
}

// parseLock reads a lockinfo (section 14.11).
func parseLock(e *element) (LockRequest, error) {
	var l LockRequest
	scope, typ := e.child("lockscope"), e.child("locktype")
	if scope == nil || typ == nil || typ.child("write") == nil {
		return l, refused(http.StatusUnprocessableEntity, "there are write locks only")
	}
	switch shared, exclusive := scope.child("shared") != nil, scope.child("exclusive") != nil; {
	case shared == exclusive:
		return l, refused(http.StatusUnprocessableEntity, "a lock is shared or exclusive")
	case shared:
		l.Shared = true
	}
	if owner := e.child("owner"); owner != nil {
		l.Owner = owner.inner()
		if len(l.Owner) > maxOwner {
			return l, refused(http.StatusRequestEntityTooLarge, "the owner of a lock is too long")
		}
	}
	return l, nil
}

const maxOwner = 4 << 10 // bytes of a lock's owner

// newLock takes a lock. A name that is free becomes an empty file, which
// reserves it everywhere (section 7.3).
func (r *request) newLock(p *place, l LockRequest) error {
	if !p.there {
		done, err := r.confirm(r.Context(), Scope{Path: p.path, Names: true})
		if err != nil {
			return err
		}
		done()
	}
	lock, err := r.h.Locks.Create(r.Context(), l)
	if err != nil {
		return r.notLocked(p, err)
	}
	created := false
	if !p.there {
		_, created, err = r.h.files.Put(r.Context(), r.caller(), p.parent, p.name, strings.NewReader(""),
			vfs.PutOptions{If: vfs.Condition{Absent: true}, Mode: newMode, Size: 0})
		if err != nil && vfs.KindOf(err) != vfs.Exist {
			ctx := context.WithoutCancel(r.Context())
			return errors.Join(putError(err), r.h.Locks.Unlock(ctx, lock.Token, lock.Principal))
		}
	}
	r.w.Header().Set("Lock-Token", "<"+lock.Token+">")
	code := http.StatusOK
	if created {
		code = http.StatusCreated
	}
	r.showLock(code, lock)
	return nil
}

// notLocked says whose lock is in the way. If that is below what was to be
// locked, the answer is about both (section 9.10.3).
func (r *request) notLocked(p *place, err error) error {
	var conflict *LockedError
	if !errors.As(err, &conflict) {
		return err
	}
	var below []string
	for _, root := range conflict.Roots {
		if root != p.path && under(root, p.path) {
			below = append(below, root)
		}
	}
	if len(below) < len(conflict.Roots) {
		return statusError{code: http.StatusLocked, condition: noConflict(conflict.Roots), err: err}
	}
	m := newMultistatus(r.w)
	for _, root := range below {
		m.status(href(root, false), http.StatusLocked, noConflict([]string{root}))
	}
	m.status(href(r.path, p.isDir()), http.StatusFailedDependency, "")
	m.close()
	return nil
}

// refreshLock lets the timeout of a lock begin anew (section 9.10.2).
func (r *request) refreshLock(p *place, timeout time.Duration) error {
	lists, err := parseIf(r.Header.Get("If"))
	if err != nil {
		return refused(http.StatusBadRequest, "a LOCK without a body names a lock in its If header")
	}
	covering, err := r.h.Locks.Covering(r.Context(), p.path)
	if err != nil {
		return err
	}
	for _, l := range lists {
		for _, c := range l.conditions {
			for _, lock := range covering {
				if c.Token != lock.Token || c.Not {
					continue
				}
				lock, err := r.h.Locks.Refresh(r.Context(), lock.Token, r.h.User(r.Request), timeout)
				if err != nil {
					return lockError(err)
				}
				r.showLock(http.StatusOK, lock)
				return nil
			}
		}
	}
	return statusError{code: http.StatusPreconditionFailed, condition: "<D:lock-token-matches-request-uri/>"}
}

// showLock answers with the lock.
func (r *request) showLock(code int, lock Lock) {
	r.w.Header().Set("Content-Type", xmlType)
	r.w.WriteHeader(code)
	io.WriteString(r.w, xmlHeader+`<D:prop xmlns:D="DAV:"><D:lockdiscovery>`+activeLocks([]Lock{lock}, r.h.Now())+"</D:lockdiscovery></D:prop>\n")
}

// unlock implements UNLOCK (section 9.11).
func (r *request) unlock() error {
	token := strings.TrimSpace(r.Header.Get("Lock-Token"))
	if len(token) < 3 || token[0] != '<' || token[len(token)-1] != '>' {
		return refused(http.StatusBadRequest, "there is no Lock-Token")
	}
	token = token[1 : len(token)-1]
	p, err := r.here()
	if err != nil {
		return err
	}
	if p, _, err = r.judge(p); err != nil {
		return err
	}
	covering, err := r.h.Locks.Covering(r.Context(), p.path)
	if err != nil {
		return err
	}
	for _, lock := range covering {
		if lock.Token != token {
			continue
		}
		if err := r.h.Locks.Unlock(r.Context(), token, r.h.User(r.Request)); err != nil {
			return lockError(err)
		}
		r.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return statusError{code: http.StatusConflict, condition: "<D:lock-token-matches-request-uri/>"}
}

func lockError(err error) error {
	switch {
	case errors.Is(err, webdav.ErrNoSuchLock):
		return statusError{code: http.StatusConflict, condition: "<D:lock-token-matches-request-uri/>", err: err}
	case errors.Is(err, webdav.ErrForbidden):
		return statusError{code: http.StatusForbidden, err: err}
	}
	return err
}

var errTimeout = errors.New("the Timeout header cannot be understood")

// parseTimeout reads a Timeout header (section 10.7): the first that is
// understood, and limit at most.
func parseTimeout(s string, limit time.Duration) (time.Duration, error) {
	if s == "" {
		return limit, nil
	}
	for one := range strings.SplitSeq(s, ",") {
		one = strings.TrimSpace(one)
		if strings.EqualFold(one, "Infinite") {
			return limit, nil
		}
		const second = "Second-"
		if len(one) <= len(second) || !strings.EqualFold(one[:len(second)], second) {
			continue // section 10.7: what is not known is skipped
		}
		n, err := strconv.ParseUint(one[len(second):], 10, 32)
		if errors.Is(err, strconv.ErrRange) {
			return limit, nil
		}
		if err != nil {
			return 0, errTimeout
		}
		return min(max(time.Duration(n)*time.Second, time.Second), limit), nil
	}
	return 0, errTimeout
}
