package status

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/causewayfs/causeway/locks"
)

// LockReports sorts what package locks reports by path, for people.
func LockReports(r locks.Report) []LockReport {
	type key struct {
		space locks.Space
		path  string
	}
	byPath := map[key]*LockReport{}
	at := func(c locks.Claim) *LockReport {
		k := key{c.Space, c.Path}
		if byPath[k] == nil {
			byPath[k] = &LockReport{Path: c.Path, Space: spaceName(c.Space), Holders: []LockHolder{}, Waiters: []LockWaiter{}}
		}
		return byPath[k]
	}
	for _, h := range r.Held {
		l := at(h.Claim)
		l.Tree = l.Tree || h.Tree
		if l.Mode != modeName(locks.Exclusive) {
			l.Mode = modeName(h.Mode)
		}
		holder := holderOf(h.Holder)
		holder.Range, holder.Fence, holder.Cached = rangeOf(h.Claim), h.Fence, h.Cached
		l.Holders = append(l.Holders, holder)
	}
	for _, w := range r.Waiting {
		l := at(w.Claim)
		l.Waiters = append(l.Waiters, LockWaiter{Place: w.Place, Host: w.Holder.Host, PID: w.Holder.PID,
			Command: w.Holder.Command, Mode: modeName(w.Mode), Since: w.Holder.Since})
	}
	all := []LockReport{}
	for _, l := range byPath {
		slices.SortFunc(l.Holders, func(a, b LockHolder) int {
			return cmp.Or(cmp.Compare(a.Fence, b.Fence), cmp.Compare(a.Range, b.Range))
		})
		all = append(all, *l)
	}
	SortLocks(all)
	return all
}

func holderOf(h locks.Holder) LockHolder {
	return LockHolder{Host: h.Host, PID: h.PID, Command: h.Command, Via: h.Via, Since: h.Since}
}

func holdersOf(all []locks.Holder) []LockHolder {
	var list []LockHolder
	for _, h := range all {
		list = append(list, holderOf(h))
	}
	return list
}

func modeName(m locks.Mode) string {
	if m == locks.Shared {
		return "shared"
	}
	return "exclusive"
}

func spaceName(s locks.Space) string {
	if s == locks.Record {
		return "record"
	}
	return ""
}

// rangeOf is empty for a claim that is not of a range.
func rangeOf(c locks.Claim) string {
	switch {
	case c.Space != locks.Record:
		return ""
	case c.End == locks.MaxOffset:
		return fmt.Sprintf("%d-", c.Start)
	}
	return fmt.Sprintf("%d-%d", c.Start, c.End)
}
