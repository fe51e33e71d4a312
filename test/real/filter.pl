# Reads its input file line by line, again and again, and appends numbered lines to its output; asked to check itself
# by STATUS-FILE.check: the output must hold every number once, in order, each with the line it belongs to.
# filter.pl STATUS-FILE INPUT OUTPUT
use strict;
use warnings;
my ($status_file, $input, $output) = @ARGV;
open(my $status, '>>', $status_file) or die;
$status->autoflush(1);
open(my $in, '<', $input) or die;
open(my $out, '+>>', $output) or die;
$out->autoflush(1);
print $status "READY\n";
my ($number, %lines) = (0);
until (-e "$status_file.check") {
  my $line = <$in>;
  unless (defined $line) { seek($in, 0, 0); next; }
  $number++;
  $lines{$number} = $line;
  print $out "$number $line";
  select(undef, undef, undef, 0.001);
}
seek($out, 0, 0);
my ($expected, $bad) = (0, 0);
while (my $line = <$out>) {
  $expected++;
  $bad++ unless $line eq "$expected $lines{$expected}";
}
print $status $bad || $expected != $number ? "FAIL: $bad bad lines, $expected of $number\n" : "PASS\n";
