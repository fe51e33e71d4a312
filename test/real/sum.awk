# Reads its input file over and over, keeps an array of counts, and appends a line for each pass; asked to check
# itself by STATUS-FILE.check: every word has been counted exactly once for each pass.
# gawk -v status=FILE -v input=FILE -v output=FILE -f sum.awk
BEGIN {
  print "READY" >> status; fflush(status)
  while ((getline line < (status ".check")) < 0) {
    while ((getline line < input) > 0) { count[line]++; if (++seen % 50 == 0) system_sleep() }
    close(input)
    passes++
    print passes >> output; fflush(output)
  }
  for (line in count) if (count[line] != passes) bad++
  close(output)
  while ((getline line < output) > 0) if (line != ++lines) bad++
  if (bad || lines != passes || !passes) print "FAIL: " bad " counts are wrong after " passes " passes" >> status
  else print "PASS" >> status
}
# A short wait without a child process.
function system_sleep(   i) { for (i = 0; i < 20000; i++) junk += i }
