# Counts real tests in CTest's LastTest.log: cmocka's cases, the vectors' cases, and one for any other test program. A program that
# failed without saying how many of its cases did (a crash, a time-out) counts as one failure. Prints: passed failed skipped.
function finish() {
	if (name == "") return
	if (ok == 0 && f == 0) f = 1
	if (ok == 1 && p + f + s == 0) p = 1
	passed += p; failed += f; skipped += s
	if (f > 0) print "not ok " name > "/dev/stderr"
	name = ""
}
/^[0-9]+\/[0-9]+ Testing: / { finish(); name = $0; sub(/^[^:]*: /, "", name); p = f = s = 0; ok = 0 }
/^\[  PASSED  \] [0-9]+ test/ { p += $4 }
/^\[  SKIPPED \] [0-9]+ test/ { s += $4 }
/^\[  FAILED  \] [0-9]+ test/ { f += $4 }
/^[0-9]+ passed, [0-9]+ failed/ { p += $1; f += $3; if ($5 ~ /^[0-9]+$/) s += $5 }
/^Test Passed\.$/ { ok = 1 }
/^Test Failed\.$/ { ok = 0 }
END { finish(); print passed + 0, failed + 0, skipped + 0 }
