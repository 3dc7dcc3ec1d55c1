#!/usr/bin/env perl
# SPDX-License-Identifier: BSD-3-Clause
#
# generate.pl FUNCTIONS PROGRAM SOURCE... - completion of bash for PROGRAM, on stdout.
#
# The tables of options and --help are read from the source: each getopt table gives the
# options, and the text of --help what their values are. A source that has a table of
# commands gives the commands too, and each command is the source that has its function.

use strict;
use warnings;

my ($functions, $program, @sources) = @ARGV;
die "usage: $0 FUNCTIONS PROGRAM SOURCE...\n" unless @sources;

sub slurp
{
	my ($name) = @_;
	open my $f, '<', $name or die "$0: $name: $!\n";
	local $/;
	my $text = <$f>;
	$text =~ s{/\*.*?\*/}{}gs;
	return $text;
}

# What TEXT tells of the options: { "--engine" => [metavariable, words, short name or ''] }
sub help_of
{
	my ($text) = @_;
	my ($string) = $text =~ /static const char help\[\]\s*=\s*((?:"(?:[^"\\]|\\.)*"\s*)+);/s;
	return {} unless defined $string;
	my $help = join '', $string =~ /"((?:[^"\\]|\\.)*)"/g;
	$help =~ s/\\n/\n/g;
	$help =~ s/\\"/"/g;
	my (%found, $option);
	for (split /\n/, $help) {
		if (/^ +(?:-(\w), )?(--[a-z-]+)(?:=(\S+))? +(.*)/) {
			$option = $2;
			$found{$option} = [$3 // '', $4, $1 // ''];
		} elsif (defined $option && /^ {20,}(\S.*)/) {
			$found{$option}[1] .= " $1";
		} else {
			$option = undef;
		}
	}
	return \%found;
}

# [name, has a value] of each option of a getopt table
sub table_of
{
	my ($text) = @_;
	my ($table) = $text =~ /struct option \w+\[\] = \{(.*?)\n\s*\};/s or return;
	my @options;
	while ($table =~ /\{\s*"([a-z-]+)",\s*(no|required|optional)_argument,/g) {
		push @options, ["--$1", $2 ne 'no'];
	}
	return @options;
}

# The options of a source whose own table has all of them, and the texts: { command =>
# [[name, has a value, metavariable, words, short name or ''], ...] }, and the commands in
# their order.
sub rules_of
{
	my ($text) = @_;
	my ($table) = $text =~ /struct rule rules\[\] = \{(.*?)\n\};/s or return;
	my (%names, @commands, %found);
	while ($text =~ /\[COMMAND_(\w+)\] = \{ "([a-z-]+)"/g) {
		$names{$1} = $2;
		push @commands, $2;
	}
	while ($table =~ /\{\s*"([a-z-]+)",\s*(?:"([^"]*)"|NULL),\s*"([^"]*)",\s*([A-Z| ]+),\s*(?:'(\w)'|0),/g) {
		my $option = ["--$1", defined $2, $2 // '', $3, $5 // ''];
		for my $command ($4 eq 'ALL' ? @commands : map { $names{$_} } split /[| ]+/, $4) {
			push @{$found{$command}}, $option;
		}
	}
	return @commands ? (\%found, @commands) : ();
}

# What completes the value of an option: a command of the shell.
sub value_of
{
	my ($name, $metavariable, $words) = @_;

	return '_cbd_offer_ids host' if $name =~ /^--(host-gone|host-id|allow-host)$/;
	return '_cbd_offer_ids backend name' if $name eq '--backend';
	return '_cbd_offer_ids "$(_cbd_kind)"' if $words =~ /of the selected kind/;
	return '_cbd_offer_transports' if $name eq '--transport';
	return '_cbd_offer_files' if $metavariable =~ /^(FILE|DEVICE)$/;
	return '_cbd_offer "$(compgen -u)"' if $metavariable eq 'USER';
	return '_cbd_offer "$(compgen -c -- "$cbd_cur")"' if $metavariable eq 'COMMAND';
	# one of several words: "auto, psync, uring or mmap"
	if ($metavariable =~ /^[A-Z]+$/ && $metavariable !~ /^(N|S|MS|H|T|TEXT|NAME)$/ || $name eq '--poll') {
		return "_cbd_offer '$1 $2'" =~ s/,//gr
			if $words =~ /((?:[a-z][a-z_0-9-]*, )*[a-z][a-z_0-9-]*) or ([a-z][a-z_0-9-]*)/;
	}
	return ':';
}

# The same of a getopt table and a text of --help
sub options_of
{
	my ($word, $text) = @_;
	my $help = help_of($text);
	my @options = table_of($text) or die "$0: $program $word: no table of options\n";

	return map {
		my ($name, $has_value) = @$_;
		my $told = $help->{$name} or die "$0: $program $word: --help does not tell of $name\n";
		[$name, $has_value, @$told];
	} @options;
}

sub case_of
{
	my (@shown, @valued, $values);

	for (@_) {
		my ($name, $has_value, $metavariable, $words, $short) = @$_;
		push @shown, $name . ($has_value ? '=' : '');
		next unless $has_value;
		my @names = ($short ne '' ? "-$short" : (), $name);
		push @valued, @names;
		$values .= "\t\t" . join(' | ', @names) . ') ' . value_of($name, $metavariable, $words) . " ;;\n";
	}
	return ("@shown", $values // '', "@valued");
}

my %text = map { $_ => slurp($_) } @sources;
my $function = "_$program" =~ tr/-/_/r;
my ($main) = grep { $text{$_} =~ /\} commands\[\] = \{/ } @sources;
my %commands; # name => source
my @commands;
my ($ruled, $rules);
for (@sources) {
	my ($found, @names) = rules_of($text{$_});
	($ruled, $rules, @commands) = ($_, $found, @names) if $found;
}
if ($ruled) {
	$main = $ruled;
} elsif (defined $main) {
	my ($table) = $text{$main} =~ /\} commands\[\] = \{(.*?)\n\};/s;
	while ($table =~ /\{\s*"([a-z-]+)",\s*(\w+),/g) {
		my ($name, $run) = ($1, $2);
		my ($source) = grep { $text{$_} =~ /^int \Q$run\E\(/m } @sources
			or die "$0: $name: no source has $run()\n";
		push @commands, $name;
		$commands{$name} = $source;
	}
} else {
	($main) = grep { table_of($text{$_}) } @sources or die "$0: no table of options\n";
}

open my $f, '<', $functions or die "$0: $functions: $!\n";
print "# Completion of bash for $program, made by completion/generate.pl of cbd.\n# shellcheck shell=bash\n\n";
print while <$f>;
close $f;

# The words that are no options, by their number: what the programs take.
my %operands = (
	'clear' => "0) _cbd_offer 'host backend blkdev' ;;\n" .
		"\t\t1) _cbd_offer_ids \"\${cbd_operands[0]}\" ;;\n" .
		"\t\t*) _cbd_offer_transports ;;",
	'cbd-backend' => '*) _cbd_offer_files ;;',
	$ruled ? ('add' => '*) ;;', map { $_ => "0) _cbd_offer_devices ;;" } qw(recover del list)) : (),
	'cbd-bench' => '*) ;;',
);

print <<"END";

$function()
{
	local cbd_cur cbd_option cbd_joined cbd_operands options valued command first=1

	_cbd_words
END
if (@commands) {
	my $words = join ' ', @commands, $ruled ? ('--help', '--version') : map { $_->[0] } table_of($text{$main});
	print <<"END";
	command=\${COMP_WORDS[1]-}
	first=2
	if [ "\$COMP_CWORD" -eq 1 ]; then
		_cbd_offer '$words'
		return
	fi
END
} else {
	print "\tcommand=$program\n";
}
print "\tcase \$command in\n";
for my $name (@commands ? @commands : $program) {
	my @options = $ruled ? @{$rules->{$name}} : options_of($name, $text{$commands{$name} // $main});
	my ($options, $values, $valued) = case_of(@options);
	print <<"END";
	$name)
		options='$options'
		valued=' $valued '
		case \$cbd_option in
$values		*) cbd_option= ;;
		esac
		;;
END
}
print <<'END';
	*) return ;;
	esac
	# a value, or nothing that is known
	if [ -n "$cbd_option" ] || [ -n "$cbd_joined" ]; then
		return
	fi
	if [[ $cbd_cur = -* ]]; then
		_cbd_offer_options "$options"
		return
	fi
	_cbd_find_operands "$first" "$valued"
	case $command in
END
for my $name (@commands ? @commands : $program) {
	next unless $operands{$name};
	print <<"END";
	$name)
		case \${#cbd_operands[@]} in
		$operands{$name}
		esac
		;;
END
}
print <<"END";
	*) _cbd_offer_transports ;;
	esac
}

complete -F $function $program
END
