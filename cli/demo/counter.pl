# The same as counter.py, for machines without python3.
use strict;
use warnings;
use POSIX ();
use Time::HiRes qw(time sleep);

my $block_bytes   = 16 * 1024;
my $blocks        = int(200_000_000 / $block_bytes);
my $blocks_a_tick = 4;

# What was inherited from whoever started the demo does not belong to this program.
POSIX::close($_) for 3 .. 1023;

sub checksum { return unpack('%32N*', $_[0]) }

open(my $random, '<:raw', '/dev/urandom') or die "no /dev/urandom: $!";
my (@blocks, @checksums);
for my $index (0 .. $blocks - 1) {
    sysread($random, $blocks[$index], $block_bytes) == $block_bytes or die "short read: $!";
    $checksums[$index] = checksum($blocks[$index]);
}
close($random);

$| = 1;
my ($count, $running, $next_line) = (0, 0, time());
while (1) {
    for (1 .. $blocks_a_tick) {
        my $index = int(rand($blocks));
        if (checksum($blocks[$index]) != $checksums[$index]) {
            print "DAMAGED: object $index is not what it was\n";
            exit 1;
        }
        substr($blocks[$index], int(rand($block_bytes / 4)) * 4, 4, pack('N', int(rand(2**32))));
        $checksums[$index] = checksum($blocks[$index]);
        $running = ($running * 31 + $checksums[$index]) % 2**32;
    }
    if (time() >= $next_line) {
        $count += 1;
        $next_line += 0.3;
        printf("count %d  pid %d  checksum %08x\n", $count, $$, $running);
    }
    sleep(0.01);
}
